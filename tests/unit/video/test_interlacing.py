"""Interlaced frames are deinterlaced, whatever their flags say, and progressive frames are left alone."""

import cv2
import numpy as np
import pytest

from fedvsr.video.decode import VideoReader, read_frames
from fedvsr.video.shots import split_shots

# Pictures are grey, so that errors do not depend on how chroma is scaled.
# A bar that moves right by 8 pixels per field, over a soft background.
BAR = "geq=lum='if(lt(mod(X-8*N+720,360),40),220,80)':cb=128:cr=128"
FIELDS = ["-f", "lavfi", "-i", f"nullsrc=s=720x576:r=50:d=0.8,format=yuv444p,{BAR},format=yuv420p"]
PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=720x576:r=50:d=0.8,format=gray,format=yuv420p"]
INTERLACED = {
    "top": "tinterlace=interleave_top,fieldorder=tff",
    "bottom": "tinterlace=interleave_bottom,fieldorder=bff",
}
MPEG2 = ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct"]
CODECS = {
    "mpg": MPEG2,
    "ts": ["-c:v", "libx264", "-crf", "12", "-preset", "veryfast", "-flags", "+ilme+ildct"],
    "mov": ["-c:v", "prores_ks", "-flags", "+ilme+ildct"],
    "mxf": MPEG2,
    "mkv": ["-c:v", "ffv1"],  # has no flag for each frame
}


def raw(ffmpeg, *arguments, size="720x576"):
    """Returns frames as FFmpeg's program converts them, with nothing deinterlaced."""
    width, height = map(int, size.split("x"))
    data = ffmpeg(*arguments, "-vf", "setfield=prog", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def bar_position(frame):
    """Returns the position of the first column that is brighter than half, after a dark one."""
    bright = frame[..., 1].astype(float).mean(0) > 140
    return int(np.argmax(~bright[:-1] & bright[1:]))


def combing(frame):
    """Returns how much more lines differ from their neighbours than from the lines after these."""
    lines = frame[..., 1].astype(float)
    return np.abs(lines[1:-1] - lines[:-2]).mean() / max(np.abs(lines[2:] - lines[:-2]).mean(), 1e-3)


def error(frames, reference):
    return float(np.abs(frames.astype(float) - reference).mean())


@pytest.mark.parametrize("order", INTERLACED)
@pytest.mark.parametrize("suffix", CODECS)
def test_a_frame_shows_the_moment_of_its_first_field(tmp_path, ffmpeg, suffix, order):
    path = tmp_path / f"a.{suffix}"
    ffmpeg(*FIELDS, "-vf", INTERLACED[order], *CODECS[suffix], path)
    fields = raw(ffmpeg, *FIELDS)
    frames = read_frames(path)
    assert len(frames) == 20
    for number, frame in enumerate(frames):
        assert abs(bar_position(frame) - bar_position(fields[2 * number])) <= 2
        assert combing(frame) < 0.9


def test_dv_is_deinterlaced(tmp_path, ffmpeg):
    ffmpeg(*FIELDS, "-vf", INTERLACED["bottom"], "-c:v", "dvvideo", tmp_path / "a.dv")
    fields, frames = raw(ffmpeg, *FIELDS), read_frames(tmp_path / "a.dv")
    assert len(frames) == 20
    for number, frame in enumerate(frames):
        assert abs(bar_position(frame) - bar_position(fields[2 * number])) <= 2
        assert combing(frame) < 0.9


@pytest.mark.parametrize("parameters", ["tff=1", "fake-interlaced=0:bff=1"])
def test_high_definition_h264_is_deinterlaced(tmp_path, ffmpeg, parameters):
    source = ["-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=50:d=0.4,format=gray,format=yuv420p"]
    order = "top" if "tff" in parameters else "bottom"
    ffmpeg(*source, "-vf", INTERLACED[order], "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12",
           "-x264-params", parameters, tmp_path / "a.ts")  # fmt: skip
    fields, frames = raw(ffmpeg, *source, size="1920x1080"), read_frames(tmp_path / "a.ts")
    weaved = fields[::2].copy()
    first = int(order == "top")
    weaved[:, first::2] = fields[1::2, first::2]
    assert error(frames, fields[::2]) < 0.5 * error(weaved, fields[::2])


@pytest.mark.parametrize("order", INTERLACED)
@pytest.mark.parametrize("picture", ["testsrc2", "mandelbrot"])
def test_interlaced_content_that_is_flagged_progressive_is_deinterlaced(tmp_path, ffmpeg, picture, order):
    source = ["-f", "lavfi", "-i", f"{picture}=s=720x576:r=50,trim=duration=0.8,format=gray,format=yuv420p"]
    path = tmp_path / "a.mp4"
    ffmpeg(*source, "-vf", f"{INTERLACED[order]},setfield=prog", "-c:v", "libx264", "-crf", "10", path)
    fields, frames = raw(ffmpeg, *source), read_frames(path)
    weaved = raw(ffmpeg, "-i", path)
    assert len(frames) == 20
    assert error(frames, fields[::2]) < 0.6 * error(weaved, fields[::2])
    assert (frames != weaved).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("picture", ["testsrc2", "mandelbrot"])
def test_progressive_content_that_is_flagged_interlaced_is_not_touched(tmp_path, ffmpeg, picture):
    path = tmp_path / "a.mpg"
    source = ["-f", "lavfi", "-i", f"{picture}=s=720x576:r=25,trim=duration=0.8,format=yuv420p"]
    ffmpeg(*source, "-vf", "setfield=tff", *MPEG2, path)
    np.testing.assert_array_equal(read_frames(path), raw(ffmpeg, "-i", path))


PROGRESSIVE = {
    "testsrc2": "testsrc2=s={size}:r=25",
    "fractal": "mandelbrot=s={size}:r=25",
    "static": "smptehdbars=s={size}:r=25",
    "lines": "color=black:s={size}:r=25,format=gray,geq=lum='255*mod(Y,2)'",
    "moving lines": "color=black:s={size}:r=25,format=gray,geq=lum='255*mod(floor(Y/2)+N,2)*lt(X,100+8*N)'",
    "zoneplate": "zoneplate=s={size}:r=25:kx2=40:ky2=40:kt=10",
    "life": "life=s={size}:r=25:mold=10:seed=1",
    "noise": "color=gray:s={size}:r=25,noise=alls=40:allf=t:all_seed=3",
    "text by one line": "color=black:s={size}:r=25,drawtext=text='Fine text':fontcolor=white:y=h-n:x=20",
    "text by two lines": "color=black:s={size}:r=25,drawtext=text='Fine text':fontcolor=white:y=h-2*n:x=20",
    "text by three lines": "color=black:s={size}:r=25,drawtext=text='Fine text':fontcolor=white:y=h-3*n:x=20",
    "crawling text": "color=black:s={size}:r=25,drawtext=text='Fine text':fontcolor=white:x=w-3*n:y=50",
    "flash": "color=gray:s={size}:r=25,format=gray,geq=lum='255*mod(floor(N/3),2)'",
}


@pytest.mark.parametrize("size", ["176x144", "352x288", "720x576"])
@pytest.mark.parametrize("picture", PROGRESSIVE)
def test_progressive_content_is_not_touched(tmp_path, ffmpeg, picture, size):
    path = tmp_path / "a.mkv"
    source = PROGRESSIVE[picture].format(size=size)
    ffmpeg("-f", "lavfi", "-i", f"{source},trim=end_frame=30,format=yuv420p", "-c:v", "ffv1", path)
    np.testing.assert_array_equal(read_frames(path), raw(ffmpeg, "-i", path, size=size))


def test_a_file_with_progressive_and_interlaced_parts(tmp_path, ffmpeg):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.8,format=yuv420p", *MPEG2, tmp_path / "p.ts")
    ffmpeg(*PICTURES, "-vf", INTERLACED["top"], *MPEG2, tmp_path / "i.ts")
    ffmpeg("-i", f"concat:{tmp_path / 'p.ts'}|{tmp_path / 'i.ts'}|{tmp_path / 'p.ts'}", "-c", "copy", tmp_path / "a.mpg")  # fmt: skip  # noqa: E501
    frames, coded, fields = (
        read_frames(tmp_path / "a.mpg"),
        raw(ffmpeg, "-i", tmp_path / "a.mpg"),
        raw(ffmpeg, *PICTURES),
    )
    assert len(frames) == len(coded) == 60
    np.testing.assert_array_equal(frames[:20], coded[:20])
    np.testing.assert_array_equal(frames[41:], coded[41:])
    assert error(frames[20:40], fields[::2]) < 0.6 * error(coded[20:40], fields[::2])


def test_the_parts_of_a_cut_video_do_not_depend_on_each_other(tmp_path, ffmpeg):
    ffmpeg(*PICTURES, "-vf", INTERLACED["top"], *MPEG2, tmp_path / "a.mpg")
    runs = []
    for _ in range(3):
        with VideoReader(tmp_path / "a.mpg") as video:
            shots = split_shots(video, fps=25, minimum_frames=2, maximum_frames=7, detect=False)
            runs.append([frames for _, frames in shots])
    for run in runs[1:]:
        for first, second in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(first, second)


def test_interlaced_chroma_does_not_bleed_between_the_fields(tmp_path, ffmpeg):
    red = "geq=lum=100:cb=110:cr='if(lt(mod(X-16*N+720,360),80),220,110)'"
    source = ["-f", "lavfi", "-i", f"nullsrc=s=720x576:r=50:d=0.4,format=yuv420p,{red}"]
    ffmpeg(*source, "-vf", INTERLACED["top"], *MPEG2, tmp_path / "a.mpg")
    frames, fields = read_frames(tmp_path / "a.mpg"), raw(ffmpeg, *source)
    weaved = raw(ffmpeg, "-i", tmp_path / "a.mpg")
    assert error(frames[..., 0], fields[::2, ..., 0]) < 0.3 * error(weaved[..., 0], fields[::2, ..., 0])


def test_samples_are_not_touched(samples):
    for path in sorted(samples.glob("*.mp4")):
        capture = cv2.VideoCapture(str(path))
        for frame in read_frames(path):
            _, expected = capture.read()
            np.testing.assert_array_equal(frame, expected[..., ::-1])
        assert not capture.read()[0]
