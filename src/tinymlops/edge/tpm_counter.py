"""A counter in a TPM 2.0: its chip lets nobody put it back, also not with root.

Needs the extra ``tpm`` (tpm2-pytss) and the TSS2 libraries of the system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinymlops.errors import SetupError

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI

KIND = "tpm2"
INDEX = 0x01_54_4D_4C
"""Where in the TPM's non-volatile memory, among the indices that owners give out (TCG registry: 0x01400000 …)."""
DEVICE = "device:/dev/tpmrm0"


class TpmCounter:
    """A counter in non-volatile memory of a TPM 2.0, made on first use.

    A new counter starts above every one that the chip ever had (TPM 2.0 part 3, NV_Increment), so that to remove and
    make it again does not put it back.

    Args:
        tcti: How the TPM is reached, as the TSS2 libraries write it; ``swtpm:host=…,port=…`` for a simulated one.
        index: Of the counter.
    """

    kind = KIND

    def __init__(self, tcti: str = DEVICE, index: int = INDEX) -> None:
        self._tcti, self._index = tcti, index

    def read(self) -> int:
        """Its value.

        Raises:
            SetupError: There is no TPM, or it lets us not use it.
        """
        with self._opened() as (tpm, handle):
            return self._value(tpm, handle)

    def increment(self) -> int:
        """Its value after one more step; raises as `read` does."""
        with self._opened() as (tpm, handle):
            tpm.nv_increment(handle)
            return self._value(tpm, handle)

    def _value(self, tpm: ESAPI, handle: Any) -> int:
        return int.from_bytes(bytes(tpm.nv_read(handle, 8)), "big")

    @contextmanager
    def _opened(self) -> Iterator[tuple[ESAPI, Any]]:
        try:
            from tpm2_pytss import ESAPI, TSS2_Exception
        except (ImportError, OSError) as error:
            raise SetupError(
                "a counter in a TPM needs the package tpm2-pytss and the TSS2 libraries",
                "install libtss2-dev and pip install 'tinymlops[tpm]', or use the counter in a file",
            ) from error
        try:
            with ESAPI(self._tcti) as tpm:
                yield tpm, self._handle(tpm)
        except (TSS2_Exception, RuntimeError) as error:
            raise SetupError(
                f"the TPM at {self._tcti} can't be used ({error})", "check that it is there and that we may open it"
            ) from error

    def _handle(self, tpm: ESAPI) -> Any:
        from tpm2_pytss import ESYS_TR, TPM2_HANDLE, TSS2_Exception

        try:
            return tpm.tr_from_tpmpublic(TPM2_HANDLE(self._index))
        except TSS2_Exception:
            return self._made(tpm, ESYS_TR)

    def _made(self, tpm: ESAPI, roots: Any) -> Any:
        from tpm2_pytss import TPM2_ALG, TPM2_NT, TPM2B_AUTH, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

        attributes = (
            TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE | TPMA_NV.NO_DA
            | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)
        )  # fmt: skip
        public = TPMS_NV_PUBLIC(nvIndex=self._index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=8)
        handle = tpm.nv_define_space(TPM2B_AUTH(), TPM2B_NV_PUBLIC(nvPublic=public), auth_handle=roots.OWNER)
        tpm.nv_increment(handle)  # before its first step a counter can't be read
        return handle
