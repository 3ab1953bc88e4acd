"""Storage format of datasets: manifest, and Parquet columns of each problem type."""
