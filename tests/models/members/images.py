"""Models of images."""

import functools
from typing import Any

from deeplab.models import mlp
from deeplab.models.vision.convolutional import (
    cifarnet,
    cnn,
    convnext,
    densenet,
    efficientnet,
    lenet,
    mobilenet,
    resnet,
    vgg,
)
from deeplab.models.vision.detection import fcos
from deeplab.models.vision.segmentation import decoder, linknet, segformer, unet
from deeplab.models.vision.transformers import mixer, swin
from deeplab.nn.norm import batch_norm, group_norm, no_norm
from tests.models.members.base import Family, Member, member, normal

small = normal(8, 8, 1)
of_mlp = functools.partial(member, mlp, mlp.MLP, small, (5,), num_classes=5)
of_cnn = functools.partial(member, cnn, cnn.CNN, small, (5,), num_classes=5)
of_resnet = functools.partial(member, resnet, resnet.ResNet, num_classes=5)
tiny_trunk = efficientnet.EfficientNet(**efficientnet.VARIANTS["test"]).trunk
of_decoder = functools.partial(decoder.FeatureDecoder, tiny_trunk)
of_unet = functools.partial(member, unet, unet.UNet, num_classes=5)


def net(make: Any, variants: Any, size: int = 32, **more: Any) -> Member:
    made = functools.partial(make, num_classes=5, **{**variants["test"], **more})
    return Member(made, normal(size, size, 3), (5,), made().rules)


def detector(num_classes: int = 2, **arguments: Any) -> fcos.FCOS:
    """Two levels are of the trunk, and three are made of its last map."""
    trunk = resnet.ResNet(None, (1, 1, 1), width=8, stem=resnet.ImageNetStem)
    return fcos.FCOS(trunk, num_classes, **arguments)


MEMBERS = {
    "mlp": of_mlp(),
    "mlp_norm_dropout": of_mlp(norm=batch_norm, dropout=0.5),
    "cnn": of_cnn(),
    "cnn_norm_dropout": of_cnn(norm=batch_norm, dropout=0.5),
    "resnet": of_resnet(small, (5,)),
    "resnet_group_norm": of_resnet(small, (5,), norm=group_norm),
    "resnet_no_norm_dropout": of_resnet(small, (5,), norm=no_norm, dropout=0.5),
    "resnet_imagenet_stem": of_resnet(normal(16, 16, 3), (5,), stem=resnet.ImageNetStem),
    "resnet_bottleneck": of_resnet(small, (5,), block=resnet.BottleneckBlock),
    "convnext": net(convnext.ConvNeXt, convnext.VARIANTS),
    "convnext2": net(convnext.ConvNeXt, convnext.VARIANTS, second=True),
    "densenet": net(densenet.DenseNet, densenet.VARIANTS),
    "efficientnet": net(efficientnet.EfficientNet, efficientnet.VARIANTS),
    "efficientnet_squeeze_dropout": net(
        efficientnet.EfficientNet, efficientnet.VARIANTS, lite=False, dropout=0.5, drop_path=0.5
    ),
    "mixer": net(mixer.Mixer, mixer.VARIANTS, 16),
    "mobilenet2": net(mobilenet.MobileNetV2, mobilenet.VARIANTS_2),
    "mobilenet3": net(mobilenet.MobileNetV3, mobilenet.VARIANTS_3),
    "cifarnet": member(cifarnet, cifarnet.CifarNet, small, (5,), num_classes=5),
    "fcos": member(fcos, detector, normal(32, 32, 3), (4 * 4 + 2 * 2 + 3, 10)),
    "lenet": member(lenet, lenet.LeNet, normal(28, 28, 1), (5,), num_classes=5),
    "feature_decoder": member(decoder, of_decoder, normal(20, 26, 3), (10, 14, 5), num_classes=5),
    "linknet": member(linknet, linknet.LinkNet, normal(7, 8, 1), (7, 8, 5), num_classes=5),
    "segformer": Member(
        functools.partial(segformer.SegFormer, num_classes=5, **segformer.VARIANTS["test"]),
        normal(20, 16, 3),
        (5, 4, 5),
        segformer.RULES,
    ),
    "swin": net(swin.Swin, swin.VARIANTS),
    "vgg": net(vgg.VGG, vgg.VARIANTS, dropout=0.0),
    "unet": of_unet(small, (8, 8, 5)),
    "unet_dropout": of_unet(normal(7, 8, 1), (7, 8, 5), dropout=0.5),
}


SLOW = {
    "convnext", "convnext2", "densenet", "lenet", "mixer", "segformer", "vgg", "mobilenet2", "mobilenet3",
    "efficientnet_squeeze_dropout", "mlp", "cnn", "resnet_group_norm", "unet_dropout", "resnet_no_norm_dropout",
    "resnet_imagenet_stem", "feature_decoder", "cifarnet", "efficientnet", "linknet", "resnet_bottleneck", "swin",
}  # fmt: skip


SLOW_SIZES = {
    "convnext", "densenet", "efficientnet", "fcos", "feature_decoder", "mixer", "mobilenet2", "mobilenet3", "resnet",
    "segformer", "swin", "vgg",
}  # fmt: skip


def classes(make: Any, number: int) -> functools.partial:
    return functools.partial(make, num_classes=number)


FAMILIES = {
    "mlp": Family(classes(mlp.MLP, 10), mlp.VARIANTS, normal(28, 28, 1), (10,)),
    "cnn": Family(classes(cnn.CNN, 10), cnn.VARIANTS, normal(28, 28, 1), (10,)),
    "resnet": Family(classes(resnet.ResNet, 1000), resnet.VARIANTS, normal(64, 64, 3), (1000,)),
    "convnext": Family(classes(convnext.ConvNeXt, 1000), convnext.VARIANTS, normal(64, 64, 3), (1000,)),
    "densenet": Family(classes(densenet.DenseNet, 1000), densenet.VARIANTS, normal(64, 64, 3), (1000,)),
    "efficientnet": Family(classes(efficientnet.EfficientNet, 1000), efficientnet.VARIANTS, normal(64, 64, 3), (1000,)),
    "mixer": Family(classes(mixer.Mixer, 1000), mixer.VARIANTS, normal(224, 224, 3), (1000,)),
    "mobilenet2": Family(classes(mobilenet.MobileNetV2, 1000), mobilenet.VARIANTS_2, normal(64, 64, 3), (1000,)),
    "mobilenet3": Family(classes(mobilenet.MobileNetV3, 1000), mobilenet.VARIANTS_3, normal(64, 64, 3), (1000,)),
    "cifarnet": Family(classes(cifarnet.CifarNet, 10), cifarnet.VARIANTS, normal(32, 32, 3), (10,)),
    "fcos": Family(classes(detector, 80), fcos.VARIANTS, normal(64, 64, 3), (8 * 8 + 4 * 4 + 2 * 2 + 2, 88)),
    "lenet": Family(lenet.LeNet, lenet.VARIANTS, normal(28, 28, 1), (10,)),
    "feature_decoder": Family(classes(of_decoder, 3), decoder.VARIANTS, normal(32, 32, 3), (16, 16, 3)),
    "linknet": Family(classes(linknet.LinkNet, 3), linknet.VARIANTS, normal(32, 32, 3), (32, 32, 3)),
    "segformer": Family(classes(segformer.SegFormer, 150), segformer.VARIANTS, normal(64, 64, 3), (16, 16, 150)),
    "swin": Family(classes(swin.Swin, 1000), swin.VARIANTS, normal(64, 64, 3), (1000,)),
    "vgg": Family(classes(vgg.VGG, 1000), vgg.VARIANTS, normal(64, 64, 3), (1000,)),
    "unet": Family(classes(unet.UNet, 3), unet.VARIANTS, normal(32, 32, 1), (32, 32, 3)),
}
