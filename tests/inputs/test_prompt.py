from types import SimpleNamespace

from PIL import Image

from ipcv.inputs.prompt import Media, content_of, video_options

METADATA = {"total_num_frames": 20, "fps": 5.0, "frames_indices": [5, 15]}
FRAME = Image.new("RGB", (8, 8))
VIDEO = Media((FRAME, FRAME), METADATA)
PROCESSOR = SimpleNamespace(video_processor=object())


def test_video_is_taken_as_it_is_at_its_times() -> None:
    assert content_of(PROCESSOR, VIDEO) == [{"type": "video", "video": [FRAME, FRAME]}]
    expected = {"do_sample_frames": False, "video_metadata": [METADATA, METADATA]}
    assert video_options(PROCESSOR, [VIDEO, Media((FRAME,)), VIDEO]) == expected


def test_frames_are_images_where_the_processor_takes_no_video() -> None:
    without = SimpleNamespace(video_processor=None)
    assert content_of(without, VIDEO) == [{"type": "image", "image": FRAME}] * 2
    assert video_options(without, [VIDEO]) == {}
    assert video_options(PROCESSOR, [Media((FRAME,))]) == {}
