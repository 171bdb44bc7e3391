"""Pixels from image files.

decode.py
    decode — the images in a file's bytes: the whole frame or its tiles, at 64x64 px
    stream — the same, one image at a time
    frame — the first frame of a file, oriented, in RGB
    frame_size — width and height by a file's header
    tiles — a frame as one image, or as its tiles
    Tile — one image as the encoder sees it
    sha256 — the hash of a file
    pixels_sha256 — the hash of what an image shows, whatever its file is
    scale — levels 0…255 as numbers in [-1, 1]
    jpeg — an image as the bytes of a JPEG file

levels.py
    rgb — a decoded image in 8-bit RGB
    is_flat — whether an RGB image shows nothing
    count — how many of the 256 levels occur in pixels
    drawn_by_alpha — an image whose drawing is its transparency
    eight_bit — 16-bit and floating-point grey in 8 bits
    strips — the rows of an image in parts of bounded size

limits.py
    check — refuses an image that would take its decoder too much memory or time
    check_whole — refuses a JPEG file whose scans end early
    check_memory — refuses a frame for which the process may not have the memory
    webp_pixels — the size of a WebP file's frame
    jpeg_scans — how many times a JPEG file goes over its frame

metadata.py
    without — a file without what says nothing of its pixels

contents.py
    Kind — a kind of file that is no image, and what to do about it
    identified — the reason why bytes are no image: what they are

unusable.py
    Unusable — raised for a file that yields no image, with the reason
    too_large — the reason for a frame of too many pixels
    cut_off — the reason for a file that ends within its header
    decoding_error — the reason that a decoder's exception gives

The package `synthetic` renders a survey for tests and demonstrations.
"""
