"""Living figures: one plain JavaScript module each, which needs no kernel once its data are there.

A module here makes a figure's data and its static picture, and hands both to `figure.show`; the
script of the same name in `js/` draws and moves it, in JupyterLab and on the course's pages.
"""
