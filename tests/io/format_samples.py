"""For each suffix of the table of formats a small file, written by the format's own tool; and what it should hold."""

from collections.abc import Callable
from dataclasses import dataclass

import nibabel
import numpy as np

from tests.case_files import AFFINE, write_itk, write_nifti, write_npz, write_png

INTEGERS = ("uint8", "int16", "uint16", "int32")
NUMBERS = (*INTEGERS, "float32", "float64")


@dataclass(frozen=True)
class Sample:
    """How a suffix is tried.

    Attributes:
        write: (path, array (z, y, x)) writes the file.
        dtypes: that the format stores.
        big: the same in big-endian; None where the format has one order only.
        planar: the array is (y, x).
        strict: bytes after the array can be told from those of the format.
    """

    write: Callable[..., object]
    dtypes: tuple[str, ...] = NUMBERS
    big: Callable[..., object] | None = None
    planar: bool = False
    strict: bool = True


def _nifti_big(path, array):
    write_nifti(path, array, endian=">")


def write_mgz(path, array):
    nibabel.save(nibabel.MGHImage(array.T, AFFINE), path)


def write_pair(path, array):
    nibabel.save(nibabel.Nifti1Pair(array.T, AFFINE), path)


def _pair_big(path, array):
    image = nibabel.Nifti1Pair(
        array.T, AFFINE, header=nibabel.nifti1.Nifti1PairHeader(endianness=">"), dtype=array.dtype
    )
    nibabel.save(image, path)


def write_pynrrd(path, array, **header):
    """By pynrrd, in the place that `AFFINE` is."""
    import nrrd

    place = {
        "space": "right-anterior-superior",
        "space directions": AFFINE[:3, :3].T,
        "space origin": AFFINE[:3, 3],
        "endian": "little",
    }
    nrrd.write(str(path), array.T, place | header, detached_header=path.suffix == ".nhdr", index_order="F")


def _nrrd_big(path, array):
    write_pynrrd(path, array.astype(array.dtype.newbyteorder(">")), endian="big", encoding="raw")


def _mha_big(path, array):
    """By ITK, whose writer knows the machine's order only; the header's word and the bytes are turned."""
    write_itk(path, array)
    header, name, values = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    turned = np.frombuffer(values, array.dtype).byteswap().tobytes()
    path.write_bytes(header.replace(b"OrderMSB = False", b"OrderMSB = True") + name + turned)


def _mhd_big(path, array):
    write_itk(path, array)
    path.write_bytes(path.read_bytes().replace(b"OrderMSB = False", b"OrderMSB = True"))
    data = path.with_suffix(".raw")
    data.write_bytes(np.frombuffer(data.read_bytes(), array.dtype).byteswap().tobytes())


def write_hdf5(path, array):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=array, compression="gzip")
        file.create_dataset("label", data=(array > 3).astype(np.uint8))


def write_tiff(path, array):
    """By SimpleITK through libtiff: pages, a float32 image among them."""
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=True)


def write_dicom(path, array, *, fractional=False):
    """A DICOM-SEG of the classes 1, 2, ... of a label map, or of maps (z, y, x, S), by highdicom."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    images = [_ct_slice(number, array.shape[1:3]) for number in range(array.shape[0])]
    named = codes.SCT.Organ
    count = array.shape[-1] if fractional else max(2, int(array.max()))
    segments = [
        hd.seg.SegmentDescription(
            number + 1, f"part {number + 1}", named, named, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number in range(count)
    ]
    kind = hd.seg.SegmentationTypeValues.FRACTIONAL if fractional else hd.seg.SegmentationTypeValues.BINARY
    hd.seg.Segmentation(
        source_images=images,
        pixel_array=array,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=False,
        max_fractional_value=200,
    ).save_as(path)


def _ct_slice(number, shape):
    """A slice of a CT in the place that `AFFINE` is, which DICOM tells in LPS+."""
    import highdicom as hd
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = hd.UID()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
    image.PatientID = image.PatientName = image.StudyID = image.AccessionNumber = ""
    image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
    image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, number + 1
    image.Rows, image.Columns = shape
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelSpacing, image.SliceThickness = [1.5, 1.25], 8.0
    image.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
    image.ImagePositionPatient = [-20.0, 30.0, 5.0 + 8 * number]
    image.PixelData = bytes(2 * shape[0] * shape[1])
    return image


def write_seg_nrrd(path, array):
    """A `.seg.nrrd` of one layer, by slicerio."""
    import slicerio

    directions = AFFINE.copy()
    directions[:2] *= -1  # slicerio speaks LPS+
    segmentation = {
        "voxels": np.ascontiguousarray(array.T),
        "ijkToLPS": directions,
        "containedRepresentationNames": ["Binary labelmap"],
        "sourceRepresentation": "Binary labelmap",
        "segments": [
            {"id": f"s{value}", "name": f"part {value}", "labelValue": int(value), "color": [1.0, 0, 0]}
            for value in np.unique(array[array > 0])
        ],
    }
    slicerio.write_segmentation(str(path), segmentation)


SAMPLES = {
    ".nii.gz": Sample(write_nifti, big=_nifti_big),
    ".nii": Sample(write_nifti, big=_nifti_big),
    ".img": Sample(write_pair, big=_pair_big),
    ".img.gz": Sample(write_pair, big=_pair_big),
    ".mgz": Sample(write_mgz, ("uint8", "int16", "int32", "float32"), strict=False),  # tags follow the values
    ".mgh": Sample(write_mgz, ("uint8", "int16", "int32", "float32"), strict=False),
    ".npz": Sample(
        lambda path, array: write_npz(path, image=array, label=(array > 3).astype(np.uint8)),
        big=lambda path, array: write_npz(path, image=array.astype(array.dtype.newbyteorder(">"))),
        strict=False,
    ),
    ".npy": Sample(np.save, big=lambda path, array: np.save(path, array.astype(array.dtype.newbyteorder(">")))),
    ".mha": Sample(write_itk, big=_mha_big),
    ".mhd": Sample(write_itk, big=_mhd_big),
    ".nrrd": Sample(write_pynrrd, big=_nrrd_big),
    ".nhdr": Sample(write_pynrrd, big=_nrrd_big),
    ".seg.nrrd": Sample(write_seg_nrrd, ("uint8", "uint16")),
    ".dcm": Sample(write_dicom, ("uint8",), strict=False),
    ".h5": Sample(write_hdf5, strict=False),
    ".hdf5": Sample(write_hdf5, strict=False),
    ".png": Sample(write_png, ("uint8", "uint16"), planar=True, strict=False),
    ".tif": Sample(write_tiff, ("uint8", "uint16", "float32"), strict=False),
    ".tiff": Sample(write_tiff, ("uint8", "uint16", "float32"), strict=False),
}


def array_of(suffix, dtype="uint8", shape=(4, 5, 6)):
    """Labels 0 to 5, every value of them, with the last slice background but for one voxel."""
    values = np.arange(np.prod(shape)).reshape(shape) % 6
    values[-1] = 0
    values[-1, -1, -1] = 5
    return (values[0] if SAMPLES[suffix].planar else values).astype(dtype)


def written(folder, suffix, array):
    path = folder / f"a{suffix}"
    SAMPLES[suffix].write(path, array)
    return path
