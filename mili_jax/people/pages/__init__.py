"""The pages, as they are sent: plain HTML, CSS and ES modules."""
