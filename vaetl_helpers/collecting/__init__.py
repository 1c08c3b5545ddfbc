"""Pictures that come through the browser: files that a person chooses, and the camera."""

from vaetl_helpers.collecting.choosing import files_of, upload
from vaetl_helpers.collecting.folders import FOLDER, ClassFolder, class_folders
from vaetl_helpers.collecting.webcam import camera

__all__ = ["FOLDER", "ClassFolder", "camera", "class_folders", "files_of", "upload"]
