"""How a dataset is stored: manifest, Parquet columns of each problem type."""
