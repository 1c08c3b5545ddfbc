"""What a whole machine can do, measured in ten minutes and kept in one file.

It hands nothing on, so that a process that needs `children` alone imports no PyTorch.
"""
