"""What is shipped to a cluster: the zip of the code, pinned packages, an archive of Python."""
