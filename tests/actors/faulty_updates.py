"""Weight updates that leave something out, or break on their way: what vLLM's workers are given instead of `WeightUpdate`."""

from actors.weight_update import WeightUpdate


class OldExperts(WeightUpdate):
    def renew_experts(self, model):
        pass


class OldOutput(WeightUpdate):
    def renew_output(self, model):
        pass


class Breaking(WeightUpdate):
    """Fails with the new weights half in place, for folders whose name says so."""

    def load_folder(self, folder, tied, checksums=None):
        seconds = super().load_folder(folder, tied, checksums)
        if folder.endswith("breaking"):
            raise RuntimeError("half of it")
        return seconds
