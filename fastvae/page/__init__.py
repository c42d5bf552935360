"""The interactive page of a run: its parts in JavaScript and CSS, and what makes one HTML file of them."""
