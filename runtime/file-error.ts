const WORDS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "it is a directory",
  EEXIST: "it exists and is not a directory",
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of the path is not a directory",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  ELOOP: "too many symbolic links",
  EMFILE: "too many open files",
  ENFILE: "too many open files",
};

/** What a file operation failed of, in words that can stand in a sentence; without the path. */
export function fileErrorInWords(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code && (WORDS[code] ?? code)) || message;
}
