"""From video files to training patches.

A client's videos are found and decoded (`decode`), cut into shots (`shots`), degraded
(`degradations`) and written to shards (`shards`), once. Training then draws patches from the
shards (`patches`). `partition` shares one collection of videos out among clients for a study,
`encode` writes frames back into a video, and `resize` is MATLAB's bicubic interpolation.

Frames are always 8-bit RGB: a uint8 array of shape (T, H, W, 3), T frames of H rows and W columns.
"""
