"""Reading outside files: listings, archives, downloads, checksums and image decoding."""
