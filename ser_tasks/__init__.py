"""The library: what is done to a call. Imports neither Prefect nor flows."""
