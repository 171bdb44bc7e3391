"""The warehouse: Delta tables and small files below one root, read and written through a Store.

`store.open_store` opens one; tables.py declares the tables; commits.py says what a commit records;
lock.py and lease.py let one run at a time write to it, in a mounted folder and elsewhere;
parquet_scan.py and parquet_write.py are for functions over Arrow batches that tasks run.
"""
