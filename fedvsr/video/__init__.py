"""From video files to training patches.

A client's videos are decoded (`decode`), cut into shots (`shots`), degraded (`degradations`) and
written to shards (`shards`) once. Training then draws patches from the shards (`patches`).

For a study, `split` splits one collection of videos among clients. `encode` writes frames to a video, and
`resize` is MATLAB's bicubic interpolation.

Frames are always 8-bit RGB: a uint8 array of shape (T, H, W, 3), T frames of H rows and W columns.
"""
