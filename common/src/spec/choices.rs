//! The keys of a spec whose value is one of several words.

use crate::words::words;

words! {
    /// The method of the split into folds.
    pub enum SplitMethod, "split_method" {
        /// MultilabelStratifiedKFold of iterative-stratification 0.1.9.
        Mskf,
        /// KFold of scikit-learn 1.7.2: folds of equal size.
        Kfold,
        /// StratifiedKFold of scikit-learn 1.7.2, where all labels of a row together are its class.
        Skf,
        /// GroupKFold of scikit-learn 1.7.2: a group is in one fold.
        Gkf,
        /// StratifiedGroupKFold of scikit-learn 1.7.2: a group is in one fold, and classes are as for `skf`.
        Sgkf,
        /// The folds of a file: a split that was made elsewhere.
        Given,
    }
}

impl SplitMethod {
    /// Whether the method puts every group into one fold.
    pub fn keeps_groups(self) -> bool {
        match self {
            Self::Gkf | Self::Sgkf => true,
            Self::Mskf | Self::Kfold | Self::Skf | Self::Given => false,
        }
    }
}

words! {
    /// How many classes an image has.
    #[derive(Default)]
    pub enum Task, "task" {
        /// Any number of classes. The score of a class is the sigmoid of its logit.
        #[default]
        Multilabel,
        /// Exactly one class. The scores of a row are the softmax of its logits.
        Multiclass,
    }
}

impl Task {
    /// The loss, if none is given.
    pub fn default_loss(self) -> Loss {
        match self {
            Self::Multilabel => Loss::Bce,
            Self::Multiclass => Loss::CrossEntropy,
        }
    }
}

words! {
    /// How lists have the labels of an image.
    pub enum LabelFormat, "label_format" {
        /// One column with the numbers of the classes, counted from 0.
        Numbers,
        /// One column with the names of the classes.
        Names,
        /// One column per class, with its name in the header and 0 or 1 in each row.
        OneHot,
    }
}

words! {
    /// What separates the labels of an image, if one column has all of them.
    pub enum LabelSeparator, "label_separator" {
        /// White space.
        Space,
        /// `|`, with or without spaces around it.
        Bar,
        /// A comma, with or without spaces around it.
        Comma,
        /// A semicolon, with or without spaces around it.
        Semicolon,
    }
}

impl LabelSeparator {
    /// The separator as it is written.
    pub fn character(self) -> char {
        match self {
            Self::Space => ' ',
            Self::Bar => '|',
            Self::Comma => ',',
            Self::Semicolon => ';',
        }
    }

    /// The parts of a text, without the spaces around them; none if the text is blank.
    pub fn split(self, text: &str) -> Vec<&str> {
        match self {
            Self::Space => text.split_ascii_whitespace().collect(),
            Self::Bar | Self::Comma | Self::Semicolon if text.trim_ascii().is_empty() => Vec::new(),
            Self::Bar | Self::Comma | Self::Semicolon => text.split(self.character()).map(str::trim_ascii).collect(),
        }
    }

    /// Whether the separator is part of a name, which it would cut in two.
    pub(super) fn is_in(self, name: &str) -> bool {
        match self {
            Self::Space => name.contains(|character: char| character.is_ascii_whitespace()),
            Self::Bar | Self::Comma | Self::Semicolon => name.contains(self.character()),
        }
    }

    /// The separator in a sentence.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Space => "spaces",
            Self::Bar => "bars (|)",
            Self::Comma => "commas",
            Self::Semicolon => "semicolons",
        }
    }
}

words! {
    /// The network, under torchvision's name. [`crate::network`] has the layers of each.
    pub enum ModelName, "model_name" {
        /// ResNet18.
        Resnet18,
        /// ResNet34.
        Resnet34,
        /// ResNet50.
        Resnet50,
        /// ResNet101.
        Resnet101,
        /// ResNet152.
        Resnet152,
        /// ResNeXt50, 32 groups of width 4.
        #[strum(serialize = "resnext50_32x4d")]
        Resnext5032x4d,
        /// ResNeXt101, 32 groups of width 8.
        #[strum(serialize = "resnext101_32x8d")]
        Resnext10132x8d,
        /// ResNet50 with bottlenecks of twice the width.
        #[strum(serialize = "wide_resnet50_2")]
        WideResnet502,
    }
}

words! {
    /// The network's last layers.
    pub enum Head, "head" {
        /// Linear to a quarter of the features (2048 to 512 in ResNet50), BatchNorm1d, Linear to the labels.
        TwoLayer,
        /// One Linear to the labels, torchvision's `fc`.
        Linear,
    }
}

words! {
    /// Normalisation of the pixels.
    pub enum Normalization, "normalization" {
        /// None: pixels are x / 255.
        None,
        /// ImageNet's mean and standard deviation per channel.
        Imagenet,
    }
}

impl Normalization {
    /// The mean that is subtracted from each channel of x / 255 (red, green, blue), and the deviation that it is divided by
    /// then; from torchvision.
    pub fn mean_and_deviation(self) -> Option<([f32; 3], [f32; 3])> {
        match self {
            Self::None => None,
            Self::Imagenet => Some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
        }
    }
}

words! {
    /// How images of another size get `image_size`.
    pub enum Resize, "resize" {
        /// Images of the HPA list as by `area`, all others as by `exact`.
        HpaArea,
        /// Not at all: they are refused.
        Exact,
        /// By the mean over the area that a pixel covers, OpenCV's INTER_AREA; smaller images are refused.
        Area,
        /// By bilinear interpolation between the centres of pixels, OpenCV's INTER_LINEAR.
        Bilinear,
    }
}

words! {
    /// How images of another shape become square.
    pub enum ImageFit, "fit" {
        /// Each side is scaled by itself.
        Stretch,
        /// The short side is scaled to `image_size`, and the middle of the long one is taken.
        Crop,
        /// The long side is scaled to `image_size`, and the rest is black.
        Pad,
    }
}

words! {
    /// Random transformations of training images.
    pub enum Augmentation, "augmentation" {
        /// None.
        None,
        /// Crop, quarter turn, flips, shear, shift, scale and rotation.
        Full,
    }
}

words! {
    /// The loss.
    pub enum Loss, "loss" {
        /// Mean binary cross-entropy with logits.
        Bce,
        /// One minus the soft macro F1 of the batch.
        SoftF1,
        /// Focal loss with gamma 2 (Lin et al. 2017).
        Focal,
        /// Cross-entropy of the softmax.
        CrossEntropy,
    }
}

impl Loss {
    /// The task that the loss is for.
    pub fn task(self) -> Task {
        match self {
            Self::Bce | Self::SoftF1 | Self::Focal => Task::Multilabel,
            Self::CrossEntropy => Task::Multiclass,
        }
    }
}

words! {
    /// What decides on the best checkpoint, the plateau and the early stop. [`crate::objective`] says how it is compared.
    #[derive(Default)]
    pub enum Objective, "objective" {
        /// The mean of the classes' F1.
        #[default]
        MacroF1,
        /// F1 of all classes together.
        MicroF1,
        /// The mean of the classes' area under the ROC curve.
        MeanAuroc,
        /// The mean of the classes' average precision.
        Map,
        /// The share of rows whose labels are all right.
        Accuracy,
        /// The validation loss; lower is better.
        Loss,
    }
}

words! {
    /// The optimiser.
    pub enum Optimizer, "optimizer" {
        /// Adam (Kingma and Ba 2015), betas 0.9 and 0.999, epsilon 1e-8.
        Adam,
        /// Stochastic gradient descent with momentum.
        Sgd,
        /// Adam with decoupled weight decay (Loshchilov and Hutter 2019), betas and epsilon as for `adam`.
        Adamw,
    }
}

words! {
    /// The schedule of the learning rate.
    pub enum LrSchedule, "lr_schedule" {
        /// Reduced on a plateau of the objective.
        Plateau,
        /// Reduced every `lr_step_epochs`.
        Step,
        /// Half a cosine down to `min_learning_rate` over all epochs (Loshchilov and Hutter 2017).
        Cosine,
    }
}

words! {
    /// Number format of the forward pass.
    pub enum Precision, "precision" {
        /// 32-bit floats.
        Fp32,
        /// bfloat16 by autocast.
        Bf16,
        /// 16-bit floats by autocast, with dynamic loss scaling.
        Fp16,
    }
}

words! {
    /// The checkpoint that scores the out-of-fold rows.
    pub enum ScoredCheckpoint, "oof_checkpoint" {
        /// The checkpoint at the end of the last epoch.
        Last,
        /// The checkpoint with the best objective.
        Best,
    }
}
