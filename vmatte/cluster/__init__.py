"""A farm of machines that share a folder: Ray places the workers, vmatte gives them segments of all jobs."""
