"""Pixels from image files.

decode.py
    decode — the images in a file's bytes: the whole frame or its tiles, at 64x64 px
    stream — the same, one image at a time
    frame — the first frame of a file, oriented, in RGB
    Frame — a frame, and the values that became black and white
    spread — how the values of a picture of more than 8 bits spread
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
    strips — the rows of an image in parts of bounded size

limits.py
    check — refuses an image that would take its decoder too much memory or time
    check_whole — refuses a JPEG file whose scans end early
    check_memory — refuses a frame for which the process may not have the memory
    webp_pixels — the size of a WebP file's frame
    jpeg_xl_pixels — the size of a JPEG XL file's frame
    jpeg_scans — how many times a JPEG file goes over its frame

samples.py
    Samples — the values of a picture of more than 8 bits
    of_image — the samples of what Pillow has opened
    stated_bits — the bits that a tag's greatest value fills
    number — the number that a tag holds as text
    may_be_deep — whether a file may have more than 8 bits, by its first bytes

tiff.py
    page_of — the first page of a TIFF that is no reduced copy
    is_for_pillow — whether Pillow reads it as it is
    read — the samples of a TIFF that Pillow does not read

ranges.py
    Depth — how pictures of more than 8 bits or three bands are shown
    Spread — how the values of files spread
    spread — how the values of a file spread
    pooled — how the values of several files spread
    kind_of — the kind of samples that share a range
    percentiles — the numbers of a rule
    fitted — the range of values that is shown, by a rule
    full — all values that a type holds
    levels — values as levels 0…255

formats.py
    parser_of — the name of a rarer format whose parser is loaded
    ending_of — the ending of the names of such files
    Parser — what reads such a format

bmp.py
    read — a BMP of 5, 6 and 5 bits, which Pillow does not decode

jpeg2000.py
    read — the samples of a JPEG 2000 that Pillow reads wrongly or not at all
    header — what a codestream says of its picture
    Header — size, bands and bits

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
