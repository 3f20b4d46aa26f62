"""Job files: YAML in, jobs out."""

from vmatte.jobfile.read import Entry, read_jobs
from vmatte.jobfile.schema import schema

__all__ = ["Entry", "read_jobs", "schema"]
