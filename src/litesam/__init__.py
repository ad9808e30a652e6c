"""litesam: the engine of napari-litesam; headless, knows no GUI.

Names that need torch are loaded on first use, so that ``import litesam`` stays quick.
"""
