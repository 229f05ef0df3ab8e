"""The embedded stores: memory (one process) and sqlite (one host, many processes)."""
