"""What `fedvsr.video.decode` is made of: from a file or folder to RGB frames with their times."""
