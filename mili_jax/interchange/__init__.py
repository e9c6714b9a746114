"""Other people's episodes in and out: Open X RLDS, LeRobot, robomimic."""
