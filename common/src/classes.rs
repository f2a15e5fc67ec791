//! The classes that an image can have. A spec names them; without names they are those of the Human Protein Atlas.

use crate::labels::LABEL_COUNT;

/// The largest number of classes of a job set.
pub const MOST_CLASSES: usize = 1000;

/// The classes of the Human Protein Atlas, in label order: the organelles as the competition calls them.
pub const HPA_CLASSES: [&str; LABEL_COUNT] = [
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Peroxisomes",
    "Endosomes",
    "Lysosomes",
    "Intermediate filaments",
    "Actin filaments",
    "Focal adhesion sites",
    "Microtubules",
    "Microtubule ends",
    "Cytokinetic bridge",
    "Mitotic spindle",
    "Microtubule organizing center",
    "Centrosome",
    "Lipid droplets",
    "Plasma membrane",
    "Cell junctions",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Cytoplasmic bodies",
    "Rods & rings",
];

/// The names of the classes of a score table whose spec is unknown: those of the Human Protein Atlas for its number of
/// classes, and the names of the table's columns otherwise.
pub fn names_for_count(class_count: usize) -> Vec<String> {
    if class_count == LABEL_COUNT {
        return HPA_CLASSES.map(str::to_owned).to_vec();
    }
    (0..class_count).map(|class| format!("p{class}")).collect()
}
