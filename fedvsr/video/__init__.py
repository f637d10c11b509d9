"""From video files to training patches.

A client's videos are decoded (`decode`), cut into shots (`shots`), degraded (`degradations`) and
written to shards (`shards`) once. Training then draws patches from the shards (`patches`).

For a study, `split` splits one collection of videos among clients. `resize` is MATLAB's bicubic
interpolation.

`encode` writes frames to a video: `output_formats` says what each container and codec holds, `video_encoder`
encodes, `output_file` puts the companion streams of the source between the frames, and `segments` keeps the
finished parts of a video for a later run.

Frames are always 8-bit RGB: a uint8 array of shape (T, H, W, 3), T frames of H rows and W columns.
"""
