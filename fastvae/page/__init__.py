"""The interactive page of a run: its parts in JavaScript and CSS, and what makes one HTML file of them."""

from fastvae.page.build import Page as Page
from fastvae.page.build import write_page as write_page
