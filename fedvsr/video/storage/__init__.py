"""How a video's frames are stored in files, so that any patch can be read without reading the whole video."""
