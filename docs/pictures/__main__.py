"""Draw every picture of the documentation anew."""

from docs.pictures import pages, redrawn

for page in pages():
    page.write_text(redrawn(page), encoding="utf-8")
    print(page.name)
