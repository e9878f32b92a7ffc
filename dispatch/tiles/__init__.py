"""A model on an image larger than memory, tile by tile: `spacebatch.tiled` and `spacebatch.receptive_field`."""
