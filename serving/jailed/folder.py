"""The one folder that programs write to: how much is in it, and emptying it after each of them.

Guarantees: `empty` removes whatever a program can have left (folders without permissions, names nested deeper than a
path may be long) and follows no link out of the folder; its cost grows with the number of entries alone.
"""

import os

MOST = 1000  # files and folders of one program


def entries(folder: str) -> int:
    """Files and folders in the file system that the folder is the root of, by that file system's own count."""
    about = os.statvfs(folder)
    return about.f_files - about.f_ffree


def empty(folder: str) -> None:
    """Remove everything inside. Folders within folders are brought up first, so that no path grows long."""
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while names := os.listdir(top):
            for name in names:
                if not _is_folder(name, top):
                    os.unlink(name, dir_fd=top)
                    continue
                os.chmod(name, 0o700, dir_fd=top)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    for child in os.listdir(inner):
                        if _is_folder(child, inner):
                            os.chmod(child, 0o700, dir_fd=inner)  # moving a folder writes to it
                            os.rename(child, os.urandom(12).hex(), src_dir_fd=inner, dst_dir_fd=top)
                        else:
                            os.unlink(child, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _is_folder(name: str, parent: int) -> bool:
    return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode & 0o170000 == 0o040000
