"""Statistics, figures, films and the page that shows them."""
