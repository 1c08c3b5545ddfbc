"""The course's images: a registry, checked downloads, and image sets that live on the device."""

from vaetl_helpers.data.files import Dataset, cache_dir, data_root
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes, shard
from vaetl_helpers.data.own import OwnPictures, example_pictures, new_garments, own_pictures
from vaetl_helpers.data.registry import DATASETS, entry, fetch, load, load_folder, where

__all__ = [
    "DATASETS",
    "Dataset",
    "ImageSet",
    "OwnPictures",
    "Splits",
    "cache_dir",
    "data_root",
    "entry",
    "example_pictures",
    "fetch",
    "image_hashes",
    "load",
    "load_folder",
    "new_garments",
    "own_pictures",
    "shard",
    "where",
]
