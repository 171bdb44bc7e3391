"""The warehouse: Delta tables and small files below one root, read and written through a Store.

`store.open_store` opens one; tables.py declares the tables; commits.py says what a commit records;
parquet_scan.py and parquet_write.py are for functions over Arrow batches that tasks run.
"""
