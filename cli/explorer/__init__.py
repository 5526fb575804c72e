"""The screen of `vaekit explore`, built on textual: what is shown comes from `vaekit.explorer`.

    app.py       the application: keys, layout, what each key does
    keys.py      every key and what it does, in one table
    sliders.py   the latent dimensions
    item.py      the decoded item: an image in half blocks, a series as lines, a table as bars
    atlas.py     the map of posterior means
    track.py     the way from A to B
    dialogs.py   the list of keys, and the question for an item

Only the command's function imports this package: textual is an extra.
"""
