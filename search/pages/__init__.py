"""The pages of a study's parent run: one file a figure, each drawn from a snapshot.

Every page stands alone: it needs no network and no other file, follows the reader's light or dark
setting, escapes what a user chose, and says in words where there is nothing to draw. Plotly's
script is packed into each (2 MB in place of 4.8), so that a study's ten pages are 20 MB.
"""
