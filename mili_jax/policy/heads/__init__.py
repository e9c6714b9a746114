"""What chooses an action: (maps [n,h,w,C], pose [n,7], z [n,Z]) -> density."""
