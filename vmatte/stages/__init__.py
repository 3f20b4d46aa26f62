"""One verb a file. A stage takes an iterator of batches and yields batches; it starts no thread and knows no other."""
