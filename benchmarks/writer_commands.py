"""How programs at hand encode a picture: each line is a picture, a sign, an ending and a command.

The sign is `=` where the format keeps every level that the picture has, and `~` where it does not.
Commands run in a folder with the pictures as files (`writers.sources`); {out} is the file to write.
Of Pillow and tifffile the command is a file, or an array, and the options of their `save` and
`imwrite` in JSON.
"""

from __future__ import annotations

COMMANDS = r"""
[Pillow]
colours  ~ jpg   colours.png {"quality": 95, "subsampling": 0}
colours  ~ jpg   colours.png {"quality": 75, "progressive": true}
colours  ~ jpg   colours.png {"quality": 90, "subsampling": 2, "optimize": true}
colours  ~ jpg   colours.png {"quality": 95, "keep_rgb": true}
grey     ~ jpg   grey.png {"quality": 95}
cmyk     ~ jpg   cmyk.tif {"quality": 95}
colours  = png   colours.png {}
colours  = png   colours.png {"optimize": true}
alpha    = png   alpha.png {}
grey     = png   grey.png {}
deepgrey = png   deepgrey.png {}
palette  = png   palette.png {}
palette  = png   palette.png {"bits": 8, "transparency": 3}
lines    = png   lines.png {}
palette  = gif   palette.png {}
palette  = gif   palette.png {"interlace": 0, "transparency": 3}
colours  ~ gif   colours.png {}
colours  ~ webp  colours.png {"quality": 90}
colours  = webp  colours.png {"lossless": true}
alpha    = webp  alpha.png {"lossless": true, "exact": true}
alpha    ~ webp  alpha.png {"quality": 90}
colours  = bmp   colours.png {}
grey     = bmp   grey.png {}
palette  = bmp   palette.png {}
lines    = bmp   lines.png {}
colours  = dib   colours.png {}
colours  = ppm   colours.png {}
grey     = pgm   grey.png {}
lines    = pbm   lines.png {}
deepgrey = pgm   deepgrey.png {}
colours  = tif   colours.png {}
colours  = tif   colours.png {"compression": "tiff_lzw"}
colours  = tif   colours.png {"compression": "tiff_adobe_deflate"}
colours  = tif   colours.png {"compression": "packbits"}
colours  = tif   colours.png {"compression": "zstd"}
colours  = tif   colours.png {"compression": "lzma"}
colours  ~ tif   colours.png {"compression": "jpeg", "quality": 95}
alpha    = tif   alpha.png {}
grey     = tif   grey.png {"compression": "tiff_lzw"}
lines    = tif   lines.png {"compression": "group3"}
lines    = tif   lines.png {"compression": "group4"}
palette  = tif   palette.png {}
cmyk     = tif   cmyk.tif {}
deepgrey = tif   deepgrey.png {"compression": "tiff_lzw"}
float    = tif   float.tif {"compression": "tiff_adobe_deflate"}
colours  = jp2   colours.png {}
colours  ~ jp2   colours.png {"irreversible": true, "quality_mode": "dB", "quality_layers": [45]}
alpha    = jp2   alpha.png {}
grey     = j2k   grey.png {}
deepgrey = jp2   deepgrey.png {}
colours  ~ avif  colours.png {"quality": 90}
alpha    ~ avif  alpha.png {"quality": 90, "subsampling": "4:4:4"}
colours  = tga   colours.png {}
colours  = pcx   colours.png {}
colours  = sgi   colours.png {}
colours  = ico   colours.png {}
colours  = icns  colours.png {}
colours  ~ pdf   colours.png {}
colours  = dds   colours.png {}
[tifffile]
colours  = tif   colours {}
colours  = tif   colours {"compression": "zlib", "predictor": true}
colours  = tif   colours {"planarconfig": "separate"}
colours  = tif   colours {"tile": [32, 32], "bigtiff": true, "byteorder": ">"}
grey     = tif   grey {"photometric": "miniswhite"}
deep     = tif   deep {"photometric": "rgb"}
deep     = tif   deep {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}
deepgrey = tif   deepgrey {"compression": "zlib", "predictor": true}
deepgrey = tif   deepgrey {"photometric": "miniswhite"}
float    = tif   float {"compression": "zlib"}
heights  = tif   heights {"tile": [16, 16]}
colours  = tif   colours {"description": "a picture", "resolution": [300, 300]}
lines    = tif   lines {"compression": "zlib", "photometric": "minisblack"}
[ImageMagick]
colours  ~ jpg   convert colours.png -quality 90 {out}
colours  ~ jpg   convert colours.png -quality 95 -sampling-factor 4:2:0 -interlace JPEG {out}
colours  ~ jpg   convert colours.png -quality 95 -sampling-factor 4:1:1 {out}
grey     ~ jpg   convert grey.png -quality 95 {out}
cmyk     ~ jpg   convert cmyk.tif -quality 95 {out}
colours  = png   convert colours.png PNG24:{out}
alpha    = png   convert alpha.png PNG32:{out}
deep     = png   convert deep.ppm PNG48:{out}
deep     = png   convert deep.ppm -alpha set PNG64:{out}
palette  = png   convert palette.png PNG8:{out}
lines    = png   convert lines.png -monochrome {out}
grey     = png   convert grey.png -interlace PNG {out}
deepgrey = png   convert deepgrey.pgm {out}
palette  = gif   convert palette.png {out}
colours  ~ gif   convert colours.png other.png -delay 10 -loop 0 {out}
colours  ~ webp  convert colours.png -quality 90 {out}
colours  = webp  convert colours.png -define webp:lossless=true {out}
colours  = bmp   convert colours.png {out}
colours  = bmp   convert colours.png BMP3:{out}
colours  = bmp   convert colours.png BMP2:{out}
alpha    = bmp   convert alpha.png {out}
colours  ~ bmp   convert colours.png -define bmp:subtype=RGB565 {out}
palette  = bmp   convert palette.png -compress RLE {out}
palette  = bmp   convert palette.png -type Palette BMP3:{out}
colours  = ppm   convert colours.png {out}
colours  = ppm   convert colours.png -compress none {out}
deep     = ppm   convert deep.ppm {out}
deepgrey = pgm   convert deepgrey.pgm -compress none {out}
float    = pfm   convert float.tif {out}
alpha    = pam   convert alpha.png {out}
colours  = tif   convert colours.png -compress none {out}
colours  = tif   convert colours.png -compress LZW {out}
colours  = tif   convert colours.png -compress Zip {out}
colours  ~ tif   convert colours.png -compress JPEG -quality 95 {out}
colours  = tif   convert colours.png -interlace Plane {out}
colours  = tif   convert colours.png -define tiff:tile-geometry=32x32 -endian MSB {out}
alpha    = tif   convert alpha.png -define tiff:alpha=unassociated {out}
alpha    ~ tif   convert alpha.png -define tiff:alpha=associated {out}
grey     = tif   convert grey.png -negate -define quantum:polarity=min-is-white {out}
lines    = tif   convert lines.png -compress Group4 {out}
lines    = tif   convert lines.png -compress Fax {out}
palette  = tif   convert palette.png -type Palette {out}
cmyk     = tif   convert cmyk.tif -compress Zip {out}
cmyk     = tif   convert cmyk.tif -depth 16 {out}
deep     = tif   convert deep.ppm -compress Zip {out}
deep     = tif   convert deep.ppm -interlace Plane {out}
deepgrey = tif   convert deepgrey.pgm -depth 16 {out}
grey     = tif   convert grey.png -compress Zip -depth 64 -define quantum:format=floating-point {out}
colours  ~ tif   convert colours.png -colorspace YCbCr -depth 8 {out}
colours  ~ tif   convert colours.png -colorspace Lab -depth 8 {out}
colours  ~ tif   convert colours.png -colorspace Lab -depth 16 {out}
colours  = tif   convert colours.png other.png {out}
colours  = ptif  convert colours.png {out}
colours  ~ jp2   convert colours.png -quality 95 {out}
alpha    = tga   convert alpha.png {out}
colours  = exr   convert colours.png {out}
colours  = dpx   convert colours.png {out}
colours  = psd   convert colours.png {out}
colours  = miff  convert colours.png {out}
grey     = fits  convert grey.png {out}
colours  ~ heic  convert colours.png -quality 95 {out}
colours  ~ avif  convert colours.png -quality 95 {out}
colours  = jng   convert colours.png {out}
colours  = mng   convert colours.png {out}
colours  = svg   convert colours.png {out}
colours  = sgi   convert colours.png {out}
turned   ~ jpg   convert turned6.jpg -quality 95 {out}
turned   = tif   convert turned.png -orient RightTop {out}
[GraphicsMagick]
colours  ~ jpg   gm convert colours.png -quality 95 {out}
cmyk     ~ jpg   gm convert cmyk.tif -quality 95 {out}
colours  = png   gm convert colours.png {out}
deep     = png   gm convert deep.ppm {out}
palette  = gif   gm convert palette.png {out}
colours  = tif   gm convert colours.png -compress LZW {out}
deep     = tif   gm convert deep.ppm -compress Zip {out}
cmyk     = tif   gm convert cmyk.tif {out}
grey     = tif   gm convert grey.png {out}
lines    = tif   gm convert lines.png -compress Group4 {out}
colours  = bmp   gm convert colours.png {out}
colours  = ppm   gm convert colours.png {out}
colours  ~ webp  gm convert colours.png -quality 95 {out}
colours  ~ jp2   gm convert colours.png -quality 95 {out}
[FFmpeg]
colours  ~ jpg   ffmpeg -i colours.png -q:v 2 {out}
colours  ~ jpg   ffmpeg -i colours.png -pix_fmt yuvj444p -q:v 2 {out}
grey     ~ jpg   ffmpeg -i grey.png -pix_fmt gray -q:v 2 -strict unofficial {out}
colours  ~ jpg   ffmpeg -i colours.png -c:v ljpeg -pix_fmt bgr24 {out}
colours  ~ jpg   ffmpeg -i colours.png -c:v jpegls -f image2 {out}
colours  = png   ffmpeg -i colours.png -pix_fmt rgb24 {out}
alpha    = png   ffmpeg -i alpha.png -pix_fmt rgba {out}
deep     = png   ffmpeg -i deep.ppm -pix_fmt rgb48be {out}
deep     = png   ffmpeg -i deep.ppm -pix_fmt rgba64be {out}
deepgrey = png   ffmpeg -i deepgrey.pgm -pix_fmt gray16be {out}
deepgrey = png   ffmpeg -i deepgrey.pgm -pix_fmt ya16be {out}
grey     = png   ffmpeg -i grey.png -pix_fmt ya8 {out}
lines    = png   ffmpeg -i lines.png -pix_fmt monob {out}
colours  = apng  ffmpeg -i colours.png -i other.png -filter_complex concat=n=2 -f apng -pix_fmt rgb24 {out}
colours  = tif   ffmpeg -i colours.png -pix_fmt rgb24 {out}
colours  = tif   ffmpeg -i colours.png -pix_fmt rgb24 -compression_algo lzw {out}
colours  = tif   ffmpeg -i colours.png -pix_fmt rgb24 -compression_algo deflate {out}
deep     = tif   ffmpeg -i deep.ppm -pix_fmt rgb48le {out}
deep     = tif   ffmpeg -i deep.ppm -pix_fmt rgba64le {out}
deepgrey = tif   ffmpeg -i deepgrey.pgm -pix_fmt gray16le {out}
lines    = tif   ffmpeg -i lines.png -pix_fmt monow {out}
colours  ~ tif   ffmpeg -i colours.png -pix_fmt yuv444p {out}
colours  ~ tif   ffmpeg -i colours.png -pix_fmt yuv420p {out}
colours  = bmp   ffmpeg -i colours.png -pix_fmt bgr24 {out}
alpha    = bmp   ffmpeg -i alpha.png -pix_fmt bgra {out}
colours  ~ bmp   ffmpeg -i colours.png -pix_fmt rgb565le {out}
colours  ~ bmp   ffmpeg -i colours.png -pix_fmt rgb555le {out}
grey     = bmp   ffmpeg -i grey.png -pix_fmt gray {out}
lines    = bmp   ffmpeg -i lines.png -pix_fmt monob {out}
colours  = ppm   ffmpeg -i colours.png -pix_fmt rgb24 {out}
deep     = ppm   ffmpeg -i deep.ppm -pix_fmt rgb48be {out}
deepgrey = pgm   ffmpeg -i deepgrey.pgm -pix_fmt gray16be {out}
grey     = pfm   ffmpeg -i grey.png -pix_fmt grayf32le {out}
colours  = pam   ffmpeg -i colours.png -pix_fmt rgb24 {out}
colours  ~ webp  ffmpeg -i colours.png -q:v 95 {out}
colours  = webp  ffmpeg -i colours.png -lossless 1 -pix_fmt bgra {out}
grey     ~ gif   ffmpeg -i grey.png -pix_fmt gray {out}
colours  ~ jp2   ffmpeg -i colours.png -c:v libopenjpeg -pix_fmt rgb24 {out}
colours  ~ j2k   ffmpeg -i colours.png -c:v jpeg2000 -pix_fmt rgb24 {out}
deep     ~ jp2   ffmpeg -i deep.ppm -c:v libopenjpeg -pix_fmt rgb48le {out}
colours  ~ avif  ffmpeg -i colours.png -c:v libaom-av1 -crf 10 -still-picture 1 {out}
colours  ~ avif  ffmpeg -i colours.png -c:v libaom-av1 -pix_fmt yuv444p10le -crf 10 -still-picture 1 {out}
colours  ~ jxl   ffmpeg -i colours.png -c:v libjxl -distance 0.5 {out}
colours  = tga   ffmpeg -i colours.png {out}
colours  = exr   ffmpeg -i colours.png {out}
colours  = qoi   ffmpeg -i colours.png {out}
colours  ~ mp4   ffmpeg -i colours.png {out}
[GDAL]
colours  = tif   gdal_translate -q colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=LZW -co PREDICTOR=2 colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=DEFLATE -co INTERLEAVE=BAND colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=ZSTD -co TILED=YES colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=LERC colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=LERC_DEFLATE colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=LZMA -co BIGTIFF=YES colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=PACKBITS -co ENDIANNESS=BIG colours.png {out}
colours  ~ tif   gdal_translate -q -co COMPRESS=JPEG -co JPEG_QUALITY=95 colours.png {out}
colours  ~ tif   gdal_translate -q -co COMPRESS=JPEG -co PHOTOMETRIC=YCBCR -co JPEG_QUALITY=95 colours.png {out}
colours  = tif   gdal_translate -q -co COMPRESS=WEBP -co WEBP_LOSSLESS=YES colours.png {out}
colours  = tif   gdal_translate -q -of COG colours.png {out}
colours  = tif   gdal_translate -q -co PHOTOMETRIC=MINISBLACK colours.png {out}
alpha    = tif   gdal_translate -q -co COMPRESS=LZW alpha.png {out}
alpha    = tif   gdal_translate -q -co ALPHA=NO alpha.png {out}
grey     = tif   gdal_translate -q -scale 0 255 255 0 -co PHOTOMETRIC=MINISWHITE grey.png {out}
lines    = tif   gdal_translate -q -co NBITS=1 -co COMPRESS=CCITTFAX4 lines.pgm {out}
grey     ~ tif   gdal_translate -q -scale 0 255 0 15 -co NBITS=4 grey.png {out}
palette  = tif   gdal_translate -q -co COMPRESS=LZW palette.png {out}
deep     = tif   gdal_translate -q -co COMPRESS=LZW -co PREDICTOR=2 deep.tif {out}
deep     = tif   gdal_translate -q -co COMPRESS=ZSTD -co INTERLEAVE=BAND deep.tif {out}
deep     ~ tif   gdal_translate -q -scale 0 65535 0 4095 -co NBITS=12 deep.tif {out}
deepgrey ~ tif   gdal_translate -q -scale 0 65535 0 4095 -co NBITS=12 -co COMPRESS=DEFLATE deepgrey.tif {out}
deepgrey = tif   gdal_translate -q -ot Float64 -scale 0 65535 0 1 deepgrey.tif {out}
float    = tif   gdal_translate -q -co COMPRESS=DEFLATE -co PREDICTOR=3 float.tif {out}
float    = tif   gdal_translate -q -ot Float64 float.tif {out}
heights  = tif   gdal_translate -q -co COMPRESS=LERC_ZSTD -a_nodata -9999 heights.tif {out}
colours  = png   gdal_translate -q -of PNG colours.tif {out}
deep     = png   gdal_translate -q -of PNG deep.tif {out}
colours  ~ jpg   gdal_translate -q -of JPEG -co QUALITY=95 -co PROGRESSIVE=YES colours.png {out}
colours  = jp2   gdal_translate -q -of JP2OpenJPEG -co REVERSIBLE=YES -co QUALITY=100 colours.png {out}
deep     = jp2   gdal_translate -q -of JP2OpenJPEG -co REVERSIBLE=YES -co QUALITY=100 deep.tif {out}
deepgrey = jp2   gdal_translate -q -of JP2OpenJPEG -co REVERSIBLE=YES -co QUALITY=100 deepgrey.tif {out}
colours  = webp  gdal_translate -q -of WEBP -co LOSSLESS=YES colours.png {out}
palette  = gif   gdal_translate -q -of GIF palette.png {out}
colours  = bmp   gdal_translate -q -of BMP colours.png {out}
colours  = ppm   gdal_translate -q -of PNM colours.png {out}
deepgrey = pgm   gdal_translate -q -of PNM deepgrey.tif {out}
colours  = nc    gdal_translate -q -of netCDF colours.png {out}
colours  = img   gdal_translate -q -of HFA colours.png {out}
[libtiff]
colours  = tif   tiffcp -c none colours.tif {out}
colours  = tif   tiffcp -c lzw:2 colours.tif {out}
colours  = tif   tiffcp -c zip:2 colours.tif {out}
colours  = tif   tiffcp -c packbits colours.tif {out}
colours  = tif   tiffcp -c zstd colours.tif {out}
colours  = tif   tiffcp -c lzma colours.tif {out}
colours  ~ tif   tiffcp -c webp:95 colours.tif {out}
colours  ~ tif   tiffcp -c jpeg:95 -r 64 colours.tif {out}
colours  ~ tif   tiffcp -c jpeg:r:95 -r 64 colours.tif {out}
colours  = tif   tiffcp -p separate -c lzw colours.tif {out}
colours  = tif   tiffcp -t -w 32 -l 32 -c zip colours.tif {out}
colours  = tif   tiffcp -p separate -t -w 16 -l 16 colours.tif {out}
colours  = tif   tiffcp -B -r 1 colours.tif {out}
colours  = tif   tiffcp -8 colours.tif {out}
colours  = tif   tiffcp -f lsb2msb colours.tif {out}
lines    = tif   tiffcp -c g4 lines.tif {out}
lines    = tif   tiffcp -c g3:2d:fill lines.tif {out}
lines    = tif   tiffcp -c g3:1d -f lsb2msb lines.tif {out}
deep     = tif   tiffcp -c zip:2 deep.tif {out}
deepgrey = tif   tiffcp -c lzw:2 deepgrey.tif {out}
float    = tif   tiffcp -c zip:3 float.tif {out}
cmyk     = tif   tiffcp -c lzw cmyk.tif {out}
alpha    = tif   tiffcp -c zip alpha.tif {out}
alpha    = tif   tiffcp -p separate alpha.tif {out}
colours  = tif   ppm2tiff -c lzw colours.ppm {out}
grey     = tif   ppm2tiff -c zip grey.pgm {out}
grey     = tif   raw2tiff -w 64 -l 64 -b 1 -p miniswhite negative.raw {out}
deepgrey = tif   raw2tiff -w 64 -l 64 -d short deepgrey.raw {out}
colours  ~ tif   tiffmedian colours.tif {out}
palette  = tif   pal2rgb palette.tif {out}
turned   = tif   cp turned.tif {out} && tiffset -s 274 6 {out}
colours  = tif   tiffcp colours.tif other.tif {out}
[libjpeg-turbo]
colours  ~ jpg   cjpeg -quality 95 -sample 1x1 -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -sample 2x1 -optimize -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -sample 1x2 -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -sample 4x1 -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -progressive -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -arithmetic -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -arithmetic -progressive -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -rgb -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 95 -restart 1 -dct float -outfile {out} colours.ppm
colours  ~ jpg   cjpeg -quality 20 -outfile {out} colours.ppm
grey     ~ jpg   cjpeg -quality 95 -progressive -outfile {out} grey.pgm
grey     ~ jpg   cjpeg -quality 95 -outfile {out} grey.pgm
colours  ~ jpg   jpegtran -progressive -copy all -outfile {out} colours.jpg
colours  ~ jpg   jpegtran -arithmetic -outfile {out} colours.jpg
colours  ~ jpg   jpegtran -rotate 90 -outfile {out} turned.jpg
colours  ~ jpg   wrjpgcom -comment hello colours.jpg > {out}
[jpegoptim]
colours  ~ jpg   cp colours.jpg {out} && jpegoptim -q --strip-all {out}
colours  ~ jpg   cp colours.jpg {out} && jpegoptim -q --all-progressive -m90 {out}
[PNG tools]
colours  = png   pngcrush -q -reduce colours.png {out}
grey     = png   pngcrush -q -reduce -brute grey.png {out}
colours  = png   optipng -quiet -i 1 -out {out} colours.png
deep     = png   optipng -quiet -i 1 -o 1 -out {out} deep.png
lines    = png   optipng -quiet -out {out} lines.png
colours  ~ png   pngquant --output {out} 128 colours.png
alpha    ~ png   pngquant --output {out} 256 alpha.png
[gifsicle]
palette  = gif   gifsicle --interlace palette.gif -o {out}
palette  = gif   gifsicle -O3 palette.gif -o {out}
palette  = gif   gifsicle --delay 10 palette.gif other.gif -o {out}
[libwebp]
colours  ~ webp  cwebp -quiet -q 90 colours.png -o {out}
colours  ~ webp  cwebp -quiet -q 90 -sharp_yuv colours.png -o {out}
colours  ~ webp  cwebp -quiet -preset photo -q 60 colours.png -o {out}
colours  = webp  cwebp -quiet -lossless colours.png -o {out}
colours  ~ webp  cwebp -quiet -near_lossless 60 colours.png -o {out}
alpha    = webp  cwebp -quiet -lossless -exact alpha.png -o {out}
alpha    ~ webp  cwebp -quiet -q 90 -alpha_q 80 alpha.png -o {out}
palette  = webp  gif2webp -quiet palette.gif -o {out}
colours  = webp  img2webp -lossless colours.png other.png -o {out}
colours  ~ webp  img2webp -lossy -q 90 colours.png other.png -o {out}
[OpenJPEG]
colours  = jp2   opj_compress -i colours.png -o {out}
colours  = j2k   opj_compress -i colours.ppm -o {out}
colours  ~ jp2   opj_compress -i colours.png -o {out} -I -q 45
colours  = jp2   opj_compress -i colours.png -o {out} -mct 0
colours  = jp2   opj_compress -i colours.png -o {out} -t 32,32 -p RPCL -SOP -EPH
colours  = jp2   opj_compress -i colours.png -o {out} -r 20,10,1
grey     = jp2   opj_compress -i grey.png -o {out}
alpha    = jp2   opj_compress -i alpha.png -o {out}
deep     = jp2   opj_compress -i deep.tif -o {out}
deepgrey = jp2   opj_compress -i deepgrey.tif -o {out}
deepgrey = j2k   opj_compress -i deepgrey.tif -o {out}
[libavif]
colours  = avif  avifenc -l -s 9 colours.png {out}
colours  ~ avif  avifenc --min 0 --max 10 -s 9 -y 444 colours.png {out}
colours  ~ avif  avifenc --min 0 --max 10 -s 9 -y 422 colours.png {out}
colours  ~ avif  avifenc --min 0 --max 10 -s 9 -y 420 colours.png {out}
grey     ~ avif  avifenc --min 0 --max 10 -s 9 -y 400 grey.png {out}
colours  ~ avif  avifenc --min 0 --max 10 -s 9 -r limited colours.png {out}
deep     ~ avif  avifenc --min 0 --max 4 -s 9 -d 10 deep.png {out}
deep     ~ avif  avifenc --min 0 --max 4 -s 9 -d 12 deep.png {out}
alpha    ~ avif  avifenc --min 0 --max 10 -s 9 alpha.png {out}
alpha    ~ avif  avifenc --min 0 --max 10 -s 9 --premultiply alpha.png {out}
turned   ~ avif  avifenc --min 0 --max 10 -s 9 --irot 3 turned.png {out}
colours  ~ avif  avifenc --min 0 --max 10 -s 9 colours.png other.png {out}
[libheif]
colours  ~ heic  heif-enc -q 95 colours.png -o {out}
colours  = heic  heif-enc -L -p chroma=444 --matrix_coefficients=0 colours.png -o {out}
alpha    ~ heic  heif-enc -q 95 alpha.png -o {out}
grey     ~ heic  heif-enc -q 95 grey.png -o {out}
deep     ~ heic  heif-enc -q 99 -b 10 deep.png -o {out}
deep     ~ heic  heif-enc -q 99 -b 12 deep.png -o {out}
colours  ~ heic  heif-enc -q 95 -t 32 colours.png -o {out}
colours  ~ avif  heif-enc -q 95 -A colours.png -o {out}
turned   ~ heic  heif-enc -q 95 turned6.jpg -o {out}
[libjxl]
colours  = jxl   cjxl --quiet -d 0 -e 3 colours.png {out}
colours  ~ jxl   cjxl --quiet -d 0.5 -e 3 colours.png {out}
colours  ~ jxl   cjxl --quiet colours.jpg {out}
colours  ~ jxl   cjxl --quiet -d 0.5 -e 3 -p --container=1 colours.png {out}
grey     = jxl   cjxl --quiet -d 0 -e 3 grey.png {out}
alpha    = jxl   cjxl --quiet -d 0 -e 3 alpha.png {out}
deep     = jxl   cjxl --quiet -d 0 -e 3 deep.png {out}
turned   ~ jxl   cjxl --quiet turned6.jpg {out}
[netpbm]
colours  = png   pnmtopng -interlace colours.ppm > {out}
deep     = png   pnmtopng deep.ppm > {out}
lines    = png   pnmtopng lines.pbm > {out}
grey     = png   pnmtopng -paeth grey.pgm > {out}
colours  ~ jpg   pnmtojpeg -quality 95 colours.ppm > {out}
colours  = tif   pamtotiff -truecolor -lzw colours.ppm > {out}
grey     = tif   pamtotiff -miniswhite grey.pgm > {out}
colours  = tif   pnmtotiff -truecolor -flate colours.ppm > {out}
cmyk     ~ tif   pnmtotiffcmyk cmyk.ppm > {out}
colours  = bmp   ppmtobmp -bpp 24 colours.ppm > {out}
palette  = bmp   ppmtobmp -windows palette.ppm > {out}
palette  = bmp   ppmtobmp -os2 palette.ppm > {out}
lines    = bmp   ppmtobmp lines.pbm > {out}
palette  = gif   ppmtogif palette.ppm > {out}
palette  = gif   pamtogif -interlace palette.ppm > {out}
colours  = ppm   pnmtoplainpnm colours.ppm > {out}
lines    = pbm   pnmtoplainpnm lines.pbm > {out}
colours  = pam   pamtopam < colours.ppm > {out}
grey     = pfm   pamtopfm grey.pgm > {out}
colours  = tga   ppmtotga colours.ppm > {out}
colours  = pcx   ppmtopcx colours.ppm > {out}
colours  = sgi   pnmtosgi colours.ppm > {out}
colours  = ras   pnmtorast colours.ppm > {out}
colours  = qoi   pamtoqoi colours.ppm > {out}
palette  = xpm   ppmtoxpm palette.ppm > {out}
colours  ~ ps    pnmtops colours.ppm > {out}
[libvips]
colours  ~ jpg   vips copy colours.png {out}[Q=95,interlace,strip]
cmyk     ~ jpg   vips copy cmyk.tif {out}[Q=95]
colours  = png   vips copy colours.png {out}[compression=9,interlace]
deep     = png   vips copy deep.ppm {out}
colours  ~ png   vips copy colours.png {out}[palette]
colours  = tif   vips copy colours.png {out}[compression=deflate,predictor=horizontal]
colours  = tif   vips copy colours.png {out}[compression=zstd,tile,pyramid]
colours  = tif   vips copy colours.png {out}[tile,tile-width=16,tile-height=16,pyramid,subifd]
colours  ~ tif   vips copy colours.png {out}[compression=jpeg,Q=95]
colours  = tif   vips copy colours.png {out}[compression=webp,lossless]
colours  ~ tif   vips copy colours.png {out}[compression=jp2k,Q=95]
colours  ~ tif   vips copy colours.png {out}[compression=jp2k,Q=95,tile,tile-width=64,tile-height=64]
colours  = tif   vips copy colours.png {out}[bigtiff,compression=lzw]
grey     = tif   vips copy grey.png {out}[miniswhite]
lines    = tif   vips copy lines.pgm {out}[bitdepth=1,compression=ccittfax4]
alpha    = tif   vips copy alpha.png {out}
alpha    ~ tif   vips copy alpha.png {out}[premultiply]
deep     = tif   vips copy deep.ppm {out}[compression=lzw]
cmyk     = tif   vips copy cmyk.tif {out}[compression=lzw]
float    = tif   vips copy float.tif {out}[compression=deflate,predictor=float]
colours  ~ tif   vips colourspace colours.png {out} lab
colours  ~ webp  vips copy colours.png {out}[Q=95]
colours  = webp  vips copy colours.png {out}[lossless]
colours  ~ heic  vips copy colours.png {out}[Q=95]
colours  ~ avif  vips copy colours.png {out}[Q=95]
deep     ~ avif  vips copy deep.ppm {out}[Q=99,bitdepth=12]
colours  = jp2   vips copy colours.png {out}[lossless]
colours  = jxl   vips copy colours.png {out}[lossless]
colours  ~ gif   vips copy colours.png {out}
colours  = ppm   vips copy colours.png {out}
grey     = pfm   vips linear grey.png {out} 0.00392156862745098 0
colours  ~ hdr   vips copy colours.png {out}
colours  = v     vips copy colours.png {out}
[ExifTool]
turned   ~ jpg   exiftool -q -Orientation#=6 -o {out} turned.jpg
turned   = png   exiftool -q -Orientation#=6 -o {out} turned.png
turned   = tif   exiftool -q -Orientation#=6 -o {out} turned.tif
turned   = jp2   exiftool -q -Orientation#=6 -o {out} turned.jp2
turned   ~ jpg   exiftool -q -XMP-tiff:Orientation#=6 -o {out} turned.jpg
colours  ~ jpg   exiftool -q -Comment=hello -GPSLatitude=52.5 -GPSLatitudeRef=N -Artist=me -o {out} colours.jpg
colours  ~ jpg   exiftool -q "-ThumbnailImage<=other.jpg" -o {out} colours.jpg
colours  ~ jpg   exiftool -q -IPTC:Keywords=one -XMP:Subject=two -o {out} colours.jpg
colours  = png   exiftool -q -Comment=hello -XMP:Title=title -o {out} colours.png
colours  = tif   exiftool -q -Artist=me -XMP:Title=title -IPTC:City=here -o {out} colours.tif
palette  = gif   exiftool -q -Comment=hello -XMP:Title=title -o {out} palette.gif
"""  # noqa: E501
