"""The screen of `vaekit explore`, built on textual: what is shown comes from `vaekit.explorer`.

    app.py       the application: its widgets, what each key does
    keys.py      every key and what it does, in one table
    layout.py    where each widget stands
    words.py     the title, the facts and the hints
    drawn.py     what the widgets share: lines that are drawn again only where they differ
    sliders.py   the latent dimensions
    item.py      the decoded item: an image in half blocks, a series as lines, a table as bars
    atlas.py     the map of posterior means
    track.py     the way from A to B
    notes.py     the facts under the item
    dialogs.py   the list of keys, and the question for an item

Only the command's function imports this package: textual is an extra.
"""
