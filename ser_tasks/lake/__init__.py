"""The Parquet parts, the manifests that plan them, and DuckDB views over them."""
