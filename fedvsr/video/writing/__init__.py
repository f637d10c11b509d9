"""What `fedvsr.video.encode` is made of: from RGB frames to a file or folder, and what goes along."""
