"""A run that lies in a store (an object store, HDFS, any folder by URL) and is worked on in a staging folder here.

    s3://bucket/runs/a/                           $PRSTACK_STAGING or ~/.cache/prstack/runs, then <hash of the URL>/a/
        run.json world/ synthesis/ …  the run         run.json world/ synthesis/ …
        .prstack/index-<number>-<writer>              .store.json   whose index is this folder's; checksums of its files
        .prstack/new/<checksum>  begun  lease         .pushing/     hard links to the files of a push

An index is the list of all files of a run with their bytes and checksums, and the id of the staging folder that wrote it. The newest
whole index is the run: what lies in the store and is not in it is not of the run. Objects are written under names that no index holds:

  start  1. The lease: one process at a time.
         2. The newest index is another folder's: files that differ are pulled, files that it does not list go. It is this folder's
            own: what lies here is as new or newer, and stays.
         3. An index of this folder's own says that the run goes on here; who is still working elsewhere sees it and ends.
  push   1. A snapshot: hard links to what is new here, between two looks at the folder that saw the same (files that only grow,
            *.jsonl and wandb/, up to their length then). Hidden files, links and rl/weights stay here.
         2. `begun` lists the new names; new files go to their names, changed ones to .prstack/new/<checksum>.
         3. The next index: the push is done. `redo` in it names the changed files.
         4. Changed files are copied to their names, manifests and run.json last; what is gone here is deleted there; then
            .prstack/new, `begun` and older indexes. Whoever comes after a kill does this step anew before anything else.

Invariants: a kill at any moment of a push leaves the run as it was before or as it was to be, to the byte, and no third thing; no file
of the run is deleted or overwritten before the index that has its replacement is there; a snapshot is a state in which the folder was,
so it resumes as a run resumes that was killed then. Nothing depends on renames, appending or locks in the store.

    places   a URL, and the staging folder of one        staging  the two folders: pull, push
    objects  reading and writing in a store              lease    one process at a time
    index    the list of the files of a run              run      a run while a process works on it, or reads it
"""

from prstack.store.remote.places import is_url, staging_folder, url_of
from prstack.store.remote.run import Remote, pulled

__all__ = ["Remote", "is_url", "pulled", "staging_folder", "url_of"]
