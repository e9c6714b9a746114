"""A robot without physics: a gripper before drawers and levers, drawn by numpy."""
