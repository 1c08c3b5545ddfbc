"""The application around the course: commands, running chapters, JupyterLab, the start page."""
