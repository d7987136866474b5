"""An incident as a story: for the terminal (`timeline`) and as one self-contained page (`render`)."""
