"""Pixels from image files.

decode.py
    decode — the images in a file's bytes: the whole frame or its tiles, at 64x64 px
    frame — the first frame of a file, oriented, in RGB
    tiles — a frame as one image, or as its tiles
    Tile — one image as the encoder sees it
    Unusable — raised for a file that yields no image, with the reason
    sha256 — the hash of a file
    pixels_sha256 — the hash of what an image shows, whatever its file is
    scale — levels 0…255 as numbers in [-1, 1]
    jpeg — an image as the bytes of a JPEG file

The package `synthetic` renders a survey for tests and demonstrations.
"""
