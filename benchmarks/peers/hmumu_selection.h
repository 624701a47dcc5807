// The H -> mu mu selection of 2018 for RDataFrame: written independently of af_kit.analysis.hmumu, with the same rules.
#include <ROOT/RVec.hxx>

#include <algorithm>
#include <cmath>

namespace hmumu {

using F = ROOT::RVec<float>;
using I = ROOT::RVec<int>;
using B = ROOT::RVec<bool>;

struct Vector {
   double x, y, z, e;

   static Vector of(double pt, double eta, double phi, double mass)
   {
      const double z = pt * std::sinh(eta);
      return {pt * std::cos(phi), pt * std::sin(phi), z, std::sqrt(pt * pt + z * z + mass * mass)};
   }
   Vector operator+(const Vector &other) const { return {x + other.x, y + other.y, z + other.z, e + other.e}; }
   double pt() const { return std::hypot(x, y); }
   double mass() const { return std::sqrt(std::max(e * e - x * x - y * y - z * z, 0.)); }
};

// Two selected muons; `muons` counts all that are selected.
struct Pair {
   int muons = 0;
   bool opposite = false, leading = false;
   int first = -1, second = -1;
   double mass = 0;
};

inline Pair pair(const F &pt, const F &eta, const F &phi, const F &mass, const F &isolation, const F &dxybs,
                 const I &charge, const B &medium, const I &photon, const F &photonPt, const F &photonEta,
                 const F &photonPhi, const F &photonIsolation, const F &photonDistance)
{
   Pair found;
   Vector momenta[2];
   for (int i = 0; i < int(pt.size()); ++i) {
      if (!(pt[i] > 20) || !(std::abs(double(eta[i])) < 2.4) || !medium[i])
         continue;
      Vector momentum = Vector::of(pt[i], eta[i], phi[i], mass[i]);
      double relative = isolation[i], corrected = 0;
      const int k = photon[i];
      if (k >= 0 && k < int(photonPt.size()) && photonIsolation[k] < 1.8 && photonDistance[k] < 0.012 &&
          photonPt[k] < 0.4 * pt[i] && std::abs(double(photonEta[k])) < 2.4) {
         momentum = momentum + Vector::of(photonPt[k], photonEta[k], photonPhi[k], 0);
         corrected = momentum.pt();
         relative = (relative * pt[i] - photonPt[k]) / corrected;
      } else {
         const double size = std::abs(double(eta[i])), old = pt[i];
         const double factor = size < 0.9 ? 650.84 : size < 1.7 ? 988.37 : 1484.6;
         corrected = old - factor * dxybs[i] * charge[i] * old * old / 1e4;
         momentum = Vector::of(corrected, eta[i], phi[i], mass[i]);
      }
      if (!(relative < 0.25) || !(corrected > 0))
         continue;
      if (found.muons < 2) {
         momenta[found.muons] = momentum;
         (found.muons == 0 ? found.first : found.second) = i;
      }
      ++found.muons;
   }
   if (found.muons == 2) {
      found.opposite = charge[found.first] != charge[found.second];
      found.leading = std::max(pt[found.first], pt[found.second]) > 26;
      found.mass = (momenta[0] + momenta[1]).mass();
   }
   return found;
}

inline bool no_electron(const F &pt, const F &eta, const B &identified)
{
   for (std::size_t i = 0; i < pt.size(); ++i)
      if (pt[i] > 20 && std::abs(eta[i]) < 2.5 && identified[i])
         return false;
   return true;
}

struct Jets {
   int n = 0, loose = 0, medium = 0;
   double leading = 0, distance = 0, mass = 0;
};

inline Jets jets(const F &pt, const F &eta, const F &phi, const F &mass, const F &quark, const F &tag, const I &id,
                 const I &pileup, const I &muon1, const I &muon2, int first, int second)
{
   Jets found;
   int a = -1, b = -1;
   for (int i = 0; i < int(pt.size()); ++i) {
      const double size = std::abs(double(eta[i]));
      if (!(pt[i] > 25) || !(size < 4.7) || !(quark[i] > -2) || id[i] < 2 || !(pileup[i] >= 4 || pt[i] > 50))
         continue;
      if (muon1[i] == first || muon1[i] == second || muon2[i] == first || muon2[i] == second)
         continue;
      ++found.n;
      if (size < 2.5) {
         found.loose += tag[i] > 0.1241;
         found.medium += tag[i] > 0.4184;
      }
      if (a < 0 || pt[i] > pt[a]) {
         b = a;
         a = i;
      } else if (b < 0 || pt[i] > pt[b]) {
         b = i;
      }
   }
   if (b >= 0) {
      found.leading = pt[a];
      found.distance = std::abs(double(eta[a]) - eta[b]);
      found.mass = (Vector::of(pt[a], eta[a], phi[a], mass[a]) + Vector::of(pt[b], eta[b], phi[b], mass[b])).mass();
   }
   return found;
}

// 0 to 2: number of jets; 3: VBF; 4: ttH or VH.
inline int channel(const Jets &jets)
{
   if (jets.loose >= 2 || jets.medium >= 1)
      return 4;
   if (jets.n >= 2 && jets.mass > 400 && jets.distance > 2.5 && jets.leading > 35)
      return 3;
   return std::min(jets.n, 2);
}

// 0: none; 1: Z peak; 2: sidebands; 3: signal.
inline int region(double mass)
{
   if (mass >= 76 && mass <= 106)
      return 1;
   if (mass >= 115.03 && mass <= 135.03)
      return 3;
   return mass >= 110 && mass <= 150 ? 2 : 0;
}

} // namespace hmumu
